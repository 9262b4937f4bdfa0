"""Items: rules, matching, identifiers, mapping."""
