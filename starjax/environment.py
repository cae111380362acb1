"""The environment variables that give config fields their defaults."""

import os

import dotenv


def default(variable: str, otherwise: str) -> str:
    """`variable` from the environment, else from a `.env` file here or above, else `otherwise`."""
    if variable in os.environ:
        return os.environ[variable]
    return dotenv.dotenv_values(dotenv.find_dotenv(usecwd=True)).get(variable) or otherwise
