"""What is found in the package ``flowdapt`` as well."""
