"""Static building blocks that timm lacks. They need torch and timm alone."""
