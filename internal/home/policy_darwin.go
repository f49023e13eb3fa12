package home

func organisationPolicy() string { return "/Library/Application Support/Berth/policy.toml" }
