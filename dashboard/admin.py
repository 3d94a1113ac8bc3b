from __future__ import annotations

from django.conf import settings
from django.contrib import admin

# The administration, too, says in plain sight where the prices come from.
admin.site.site_header = "Boritrader: simulated market" if settings.IS_SIMULATED else "Boritrader"
admin.site.site_title = "Boritrader"
admin.site.index_title = "Administration"
