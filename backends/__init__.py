"""One file per array library, named after it; each defines ``BACKEND``."""
