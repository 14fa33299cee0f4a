"""Messages as they travel, and what they mean here."""
