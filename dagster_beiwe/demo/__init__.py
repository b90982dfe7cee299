"""The demo: the whole product on synthetic studies, with a simulated server and a project beside it."""
