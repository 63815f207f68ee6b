"""The routes of the API: every path, method, permission, input and answer, one file a resource."""
