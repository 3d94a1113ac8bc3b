"""What the probes, the metrics, the incidents and the doctor are made of."""
