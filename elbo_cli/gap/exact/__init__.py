"""log p(x) without sampling: closed form, or the trapezoid rule over one or two latents."""
