"""Events posted to other people's servers, by the Standard Webhooks specification 1.0.0."""
