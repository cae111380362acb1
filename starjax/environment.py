"""The environment variables that give config fields their defaults."""

import os

import dotenv


def default(variable: str, otherwise: str) -> str:
    """`variable` from the environment, else from a `.env` file here or above, else `otherwise`; empty counts as unset."""
    in_file = dotenv.dotenv_values(dotenv.find_dotenv(usecwd=True))
    return os.environ.get(variable) or in_file.get(variable) or otherwise
