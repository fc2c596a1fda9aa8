"""One suite per port: every back-end keeps the same laws. A new back-end is one line in a fixture here."""
