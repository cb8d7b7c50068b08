"""Webhooks: signing, the guard of private addresses, delivery with retries and a breaker for each target."""
