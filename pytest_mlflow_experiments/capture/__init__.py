"""What runs where the tests run: params, metrics and checks of each case, and its environment."""
