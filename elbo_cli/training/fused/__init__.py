"""The hot path by hand: multilayer perceptrons, a diagonal normal q, a standard normal p(z), Bernoulli pixels, Adam.

What autograd would do, in products that write into buffers which are there already, and with one buffer each for
weights, gradients and moments. `networks.fits` says what it is for; tests/training/test_fused.py holds it to the plain
step.
"""
