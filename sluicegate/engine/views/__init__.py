"""Views: what maintains each of them, worked out at compile time, and the upkeep of them in every step."""
