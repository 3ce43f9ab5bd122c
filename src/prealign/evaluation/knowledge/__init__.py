"""Cross-lingual knowledge application: questions about made-up facts (`prealign.text.facts`)."""
