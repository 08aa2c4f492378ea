"""What people write: settings from every source, resource files, and the expressions in both."""
