"""The application object, for servers that do not call a factory: `fastapi run src/asgi.py`.

This is a separate module because it reads the settings when it is imported.
"""

from typing import Final

from fastapi import FastAPI

from src.main import create_app

app: Final[FastAPI] = create_app()
