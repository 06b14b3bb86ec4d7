"""`adfml doctor`: is everything there that the deployment declares, and may it be used?"""
