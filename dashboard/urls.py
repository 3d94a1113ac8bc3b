from __future__ import annotations

from django.urls import path

from dashboard.api import record as record_api
from dashboard.api import signals as signals_api
from dashboard.views import icon, record, signals

app_name = "dashboard"
# Tickers are paths, because symbols of other exchanges have a slash (BTC/USDT): what ends in a name comes first.
urlpatterns = [
    path("", signals.show_signals, name="show-signals"),
    path("favicon.ico", icon.show_icon, name="show-icon"),
    path("following/", signals.edit_following, name="edit-following"),
    path("following/default/", signals.choose_default, name="follow-default"),
    path("api/matrix/", signals_api.get_matrix, name="get-matrix"),
    path("api/candles/<path:ticker>/<str:timeframe>/", signals_api.get_candles, name="get-candles"),
    path("api/calls/", signals_api.list_calls, name="list-calls"),
    path("record/", record.show_record, name="show-record"),
    path("record/record.json", record_api.get_record_json, name="get-record-json"),
    path("record/record.csv", record_api.get_record_csv, name="get-record-csv"),
    path("record/ledger.json", record_api.get_ledger, name="get-ledger"),
    path("record/ledger/<slug:day>.txt", record_api.get_ledger_day, name="get-ledger-day"),
    path("record/pair/", record.find_pair_record, name="find-pair-record"),
    path("record/<slug:algorithm>/<path:ticker>/data.json", record_api.get_pair_data, name="get-pair-data"),
    path("record/<slug:algorithm>/<path:ticker>/calls.json", record_api.get_calls_json, name="get-calls-json"),
    path("record/<slug:algorithm>/<path:ticker>/calls.csv", record_api.get_calls_csv, name="get-calls-csv"),
    path("record/<slug:algorithm>/<path:ticker>/", record.show_pair_record, name="show-pair-record"),
]
