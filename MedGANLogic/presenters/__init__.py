"""What a panel, a page or a terminal shows and allows: every rule, and no widget. Nothing here knows Qt."""
