"""One training loop for every family."""

import flenlib.models  # noqa: F401  first: it keeps quiet what libraries warn of for nothing when they are imported
