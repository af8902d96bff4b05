"""Who may do what: roles, tenants, members, keys and trusts, as values and pure rules (contract §6)."""
