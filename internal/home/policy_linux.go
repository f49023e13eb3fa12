package home

func organisationPolicy() string { return "/etc/berth/policy.toml" }
