"""What becomes of a Pod on its node: decisions and status (pure), and the worker that acts."""
