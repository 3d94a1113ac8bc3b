from __future__ import annotations

from django.urls import path

from dashboard import api, views

app_name = "dashboard"
urlpatterns = [
    path("", views.show_signals, name="show-signals"),
    path("following/", views.edit_following, name="edit-following"),
    path("following/default/", views.choose_default, name="follow-default"),
    path("api/matrix/", api.get_matrix, name="get-matrix"),
    # A path, because symbols of other exchanges have a slash (BTC/USDT).
    path("api/candles/<path:ticker>/<str:timeframe>/", api.get_candles, name="get-candles"),
    path("api/calls/", api.list_calls, name="list-calls"),
]
