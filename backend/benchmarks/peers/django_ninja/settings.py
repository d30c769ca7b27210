"""Production settings: no debugging, persistent connections, the middleware that an API needs."""

import os
from urllib.parse import unquote, urlsplit

_database = urlsplit(os.environ["DATABASE_URL"])

DEBUG = False
SECRET_KEY = "nothing is signed here"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "django_ninja.urls"
WSGI_APPLICATION = "django_ninja.wsgi.application"
INSTALLED_APPS = ["django.contrib.postgres", "django_ninja"]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": _database.hostname,
        "PORT": _database.port,
        "NAME": _database.path.removeprefix("/"),
        "USER": unquote(_database.username or ""),
        "PASSWORD": unquote(_database.password or ""),
        "CONN_MAX_AGE": None,
    }
}
