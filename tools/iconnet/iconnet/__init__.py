"""IconNet: one set of everyday classes drawn in several styles by many hands, and small CLIPs trained on a part of it."""
