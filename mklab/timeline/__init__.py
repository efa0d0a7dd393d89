"""A machine's past and its other futures: changed pages, recordings."""
