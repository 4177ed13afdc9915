"""Networks, likelihoods p(x|z), posteriors q(z|x), priors p(z), and the VAE that joins them."""
