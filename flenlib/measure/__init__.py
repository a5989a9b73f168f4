"""Numbers about pictures: faces, quality, coverage, and the statistics to compare them."""
