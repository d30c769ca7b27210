"""Django with django-ninja, as their documentation teaches it, under gunicorn."""
