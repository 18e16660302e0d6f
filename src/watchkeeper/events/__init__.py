"""The event model: observations become facts, facts merge by declared rules, the rest is derived."""
