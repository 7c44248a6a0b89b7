"""Networks and losses. A part knows nothing of games, recipes, images or files."""
