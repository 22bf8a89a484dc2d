"""Tasks on workers of a pool, which ask a control plane for them."""
