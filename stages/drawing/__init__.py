"""Charts, pictures, and the page of the report."""
