"""What a trained model is for: genres and features of any files, ONNX, answers to requests."""
