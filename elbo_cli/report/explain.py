"""`elbo gap --explain`: what each line is, and what it is not."""

EXPLANATION = """\
What elbo gap prints, in nats per datum

  log p(x) = ELBO + gap        the gap is KL( q(z|x) || p(z|x) ), never negative: how far q is from the true posterior

ELBO              The mean of log w under the encoder's q, w = p(x, z) / q(z|x). Unbiased. [1]
log p(x)          L_K = log 1/K sum w, with draws of a proposal that may be better than q. A lower bound in expectation,
                  whatever the proposal, because E[exp L_K] = p(x). It is not log p(x) until the verdict says so. [2]
gap               L_K - ELBO. In expectation never more than the true gap: "at least", unless resolved.
± across data     How far another sample of data would lie. Most of the uncertainty of a published figure.
± Monte Carlo     How far another seed would lie. Too small where the draws miss the large weights: see k-hat.
certificate       With probability 1 - delta the mean of log p(x) over these data is above it: mean L_K - ln(1/delta)/N.
                  Markov's inequality and nothing else; K was fixed before the draws, which served no other purpose.
                  The gap's assumes besides that the mean of many ELBO draws is normal. Each holds with 1 - delta;
                  for both at once give half of delta.
95 %              Where log p(x) of these data lies: two Monte Carlo errors to both sides, and above them what may be
                  left, by the curve and the tail of the weights. Only where resolved, as far as draws can show.
curve             L_k on blocks of k of the same draws. Still rising means K is too small.
rho               The last rise over the one before, per factor of 4 in k. 1/4: bias falls as 1/K. [3] Near 1: hopeless.
remainder         The rises to come, if they go on as they did. An extrapolation, not a bound.
jackknife         L_K with the 1/K bias removed. Not a bound. [4]
k-hat             The shape of the tail of each datum's weights. Above its threshold: not shown to be reliable. [5]
ESS               How many equal draws the weights are worth. Looks perfect where a mode was missed.
verdict           resolved    what is left is below the tolerance, as far as draws can show
                  partial     not shown; the reason says what is missing
                  unresolved  the number is a bound and nothing more
                  A posterior that no draw reaches cannot be seen by any sampler.

Not printed: upper bounds made of draws of q (CUBO, self-normalised EUBO). They fall below log p(x) when q is bad.

[1] Kingma and Welling 2014, arxiv.org/abs/1312.6114          [4] Nowozin 2018, openreview.net/forum?id=HyZoi-WRb
[2] Burda, Grosse and Salakhutdinov 2016, arxiv.org/abs/1509.00519   [5] Vehtari et al. 2024, arxiv.org/abs/1507.02646
[3] Domke and Sheldon 2018, arxiv.org/abs/1808.09034
"""
