"""Networks that score images; they return logits, without activation."""
