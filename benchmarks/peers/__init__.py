"""What others do with the same data and the same networks. Each runs where only torch and that peer are installed."""
