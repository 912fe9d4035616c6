// The room's page follows with its first type.
