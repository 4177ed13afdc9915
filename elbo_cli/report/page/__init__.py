"""One HTML page that needs nothing beside itself: everything that is written into it is escaped here."""
