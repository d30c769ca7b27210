"""The URLs: all of them are django-ninja's."""

from django.urls import path

from django_ninja.api import api

urlpatterns = [path("api/v1/", api.urls)]
