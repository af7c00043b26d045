"""Records as tables, figures and one web page."""
