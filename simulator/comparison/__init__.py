"""One scenario on several clusters or over swept fields: rows side by side, and the knee."""
