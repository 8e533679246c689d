"""What turns other systems' intent into topologies: processes of their own that hand documents to the agent."""
