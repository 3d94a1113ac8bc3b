from __future__ import annotations

from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("login/", views.LogIn.as_view(), name="log-in"),
    path("logout/", views.LogOut.as_view(), name="log-out"),
]
