"""What an author declares: products, flows, snapshot policies. Nothing runs here."""
