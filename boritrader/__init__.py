"""The Django project. Importing the Celery app here binds every @shared_task to it."""

from workers.celery import app as celery_app

__all__ = ["celery_app"]
