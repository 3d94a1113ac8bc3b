"""From a commit to a browser: groups, wire messages, publish, the channel layer, the relay, the consumers' base."""
